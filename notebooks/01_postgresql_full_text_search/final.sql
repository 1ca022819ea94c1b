-- Create table with tsvector column for full-text search
CREATE TABLE products (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description TEXT,
    price DECIMAL(10,2),
    search_vector tsvector GENERATED ALWAYS AS (
        to_tsvector('english', name || ' ' || COALESCE(description, ''))
    ) STORED
);

-- Create GIN index for fast full-text search
CREATE INDEX idx_products_search ON products USING GIN (search_vector);

-- Full-text search query, for any text that a user types. (NUL never reaches PostgreSQL:
-- remove it before.) The text is cut to 200 characters, and minus signs that stand before
-- no word are dropped: a row of them would overflow the parser's stack.
-- SELECT id, name, headline FROM search_products('wireless mouse', 1);
-- headline marks matches with U+E000 and U+E001: escape HTML first, then turn them into tags.
CREATE FUNCTION search_products(typed text, page integer, per_page integer DEFAULT 10)
RETURNS TABLE (id integer, name varchar, headline text, rank real)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT best.id, best.name,
           ts_headline('english', best.description, best.query,
                       'StartSel=' || U&'\E000' || ', StopSel=' || U&'\E001'),
           best.rank
    FROM (
        SELECT p.id, p.name, p.description, query,
               ts_rank(p.search_vector, query) AS rank
        FROM products AS p,
             websearch_to_tsquery(
                 'english', regexp_replace(left(typed, 200), '-(?![\w"])', ' ', 'g')
             ) AS query
        WHERE p.search_vector @@ query
        ORDER BY rank DESC, p.id
        LIMIT per_page OFFSET (page - 1) * per_page
    ) AS best
    ORDER BY best.rank DESC, best.id;
END;
