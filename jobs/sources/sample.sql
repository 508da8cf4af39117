--! # The synthetic sample shop (jobs/sample_shop): three folders of daily files, every column a string.
--! format = "csv"

-- events
SELECT event_id, customer_id, product_id, event_type, event_ts, market, basket_id, quantity, price
FROM events;

-- catalogue
SELECT product_id, name, brand, category, department, colour, price, currency, launched_at, image_url
FROM (
  SELECT products.*, row_number() OVER (PARTITION BY product_id ORDER BY updated_at DESC) AS newest_first
  FROM products
) AS numbered
WHERE newest_first = 1 OR product_id IS NULL;

-- availability
SELECT product_id, market, available
FROM (
  SELECT availability.*, row_number() OVER (PARTITION BY product_id, market ORDER BY updated_at DESC) AS newest_first
  FROM availability
) AS numbered
WHERE newest_first = 1;
