-- Products with a full-text search, for PostgreSQL 17: psql -1 -f search.sql "$DATABASE_URL"
-- It may run again. A table products that is there stays as it is; give an older one the column's
-- expression below with ALTER TABLE products ALTER COLUMN search_vector SET EXPRESSION AS (...).
-- A role that searches needs SELECT on products, and this schema in its search_path.

-- Create table with tsvector column for full-text search
CREATE TABLE IF NOT EXISTS products (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description TEXT,
    price DECIMAL(10,2),
    -- The beginning only: a product with more words than a tsvector holds could not be saved.
    search_vector tsvector GENERATED ALWAYS AS (
        to_tsvector('english', left(name || ' ' || COALESCE(description, ''), 100000))
    ) STORED
);

-- Create GIN index for fast full-text search
CREATE INDEX IF NOT EXISTS idx_products_search ON products USING GIN (search_vector);

-- Full-text search query, for any text that a user types: it raises for none.
-- SELECT id, name, headline FROM search_products('wireless mouse', 1);
--
-- Of typed, 200 characters are read. Minus signs in a row, or before no word, are no "not".
-- A query of only "not" would rank nearly the whole table: it finds nothing.
-- Pages are 1 to 1,000, of 1 to 100 products (without a number 10); another page is empty.
-- marked and headline are name and description with U+E000 and U+E001 around the words found:
-- escape HTML first, then turn these two into tags. search.py does it.
-- All that matches is ranked. For common words in a big table set a statement_timeout.
CREATE OR REPLACE FUNCTION search_products(
    typed text, page integer DEFAULT 1, per_page integer DEFAULT 10
)
RETURNS TABLE (id integer, name varchar, marked text, headline text, rank real)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT best.id, best.name,
           ts_headline('english', translate(best.name, U&'\E000\E001', ''), best.query,
                       'HighlightAll=true, StartSel=' || U&'\E000' || ', StopSel=' || U&'\E001'),
           ts_headline('english',
                       translate(left(COALESCE(best.description, ''), 100000), U&'\E000\E001', ''),
                       best.query, 'StartSel=' || U&'\E000' || ', StopSel=' || U&'\E001'),
           best.rank
    FROM (
        SELECT p.id, p.name, p.description, query,
               ts_rank(p.search_vector, query) AS rank
        FROM products AS p,
             websearch_to_tsquery(
                 'english', regexp_replace(left(typed, 200), '-{2,}|-(?![\w"])', ' ', 'g')
             ) AS query
        WHERE p.search_vector @@ query
          AND querytree(query) NOT IN ('', 'T')  -- what an index can look for
          AND page BETWEEN 1 AND 1000
        ORDER BY rank DESC, p.id
        LIMIT LEAST(GREATEST(COALESCE(per_page, 10), 1), 100)
        OFFSET (LEAST(GREATEST(page, 1), 1000) - 1)
               * LEAST(GREATEST(COALESCE(per_page, 10), 1), 100)
    ) AS best
    ORDER BY best.rank DESC, best.id;
END;
