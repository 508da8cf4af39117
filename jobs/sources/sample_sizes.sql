--! # The synthetic sample shop with sizes (python -m jobs sample --sizes): daily files with what is new or changed.
--! format = "csv"

-- events
SELECT event_id, customer_id, product_id, event_type, event_ts, market, basket_id, quantity, price, size
FROM events;

-- catalogue
SELECT product_id, name, brand, category, department, colour, price, currency, launched_at, image_url, updated_at
FROM products;

-- availability
SELECT product_id, market, size, available, updated_at
FROM availability;

-- impressions
SELECT visitor AS customer_id, list AS list_id, product AS product_id, place, at AS shown_at
FROM impressions
