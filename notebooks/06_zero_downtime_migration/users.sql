-- The shop's users, 200,000 of them, generated. The email of every user is different.
DROP TABLE IF EXISTS users, alembic_version;

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email varchar(255) NOT NULL UNIQUE,
    name varchar(100) NOT NULL,
    logins int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
)
-- Autovacuum would come at some moment of a measurement. In production, leave it on.
WITH (autovacuum_enabled = off);

INSERT INTO users (email, name, created_at)
SELECT 'user' || n || '@example.com', 'User ' || n, '2025-01-01Z'::timestamptz + n * interval '1 minute'
FROM generate_series(1, 200000) AS n;
