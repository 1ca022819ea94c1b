-- Create table with tsvector column for full-text search
CREATE TABLE products (
    id SERIAL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description TEXT,
    price DECIMAL(10,2),
    search_vector tsvector GENERATED ALWAYS AS (
        to_tsvector('english', name || ' ' || COALESCE(description, ''))
    ) STORED
);

-- Create GIN index for fast full-text search
CREATE INDEX idx_products_search ON products USING GIN (search_vector);

-- Full-text search query
SELECT id, name, description,
       ts_rank(search_vector, query) AS rank
FROM products,
     to_tsquery('english', 'laptop | keyboard') AS query
WHERE search_vector @@ query
ORDER BY rank DESC;
