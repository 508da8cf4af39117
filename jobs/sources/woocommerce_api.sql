-- Orders of a WooCommerce shop as its REST API gives them (GET /wp-json/wc/v3/orders, a hundred a page), as JSON lines:
-- one order a line, made of a page by `jq -c '.[]' page*.json > orders.jsonl`, in the raw folder itself.
--
-- A customer is the account's number. A guest (customer_id 0) is the hash of the e-mail address, so that the lake keeps
-- no address; one without is a customer of one order. To look up a guest, hash in the same way:
-- concat('guest ', sha2(lower(trim(address)), 256)).
-- An order that was fetched again after a change replaces its lines: keep one file, and overwrite it.
--
-- Adapt: the product (product_id stands for all sizes, variation_id or sku for one), the market, the department, and
-- which orders count: `completed`, `processing` and `on-hold` do. What was given back is not in an order's lines.

-- events
SELECT
  concat_ws(' ', id, line.id) AS event_id,
  coalesce(
    nullif(customer_id, '0'),
    concat('guest ', sha2(nullif(lower(trim(get_json_object(billing, '$.email'))), ''), 256)),
    concat('order ', id)
  ) AS customer_id,
  nullif(line.product_id, '0') AS product_id,
  'purchase' AS event_type,
  date_created_gmt AS event_ts,
  coalesce(
    nullif(get_json_object(shipping, '$.country'), ''), nullif(get_json_object(billing, '$.country'), '')
  ) AS market,
  id AS basket_id,
  line.quantity,
  line.price,
  CASE
    WHEN status NOT IN ('completed', 'processing', 'on-hold') THEN concat('order ', status)
    WHEN coalesce(line.product_id, '0') = '0' THEN 'no product (deleted)'
  END AS excluded
FROM raw
LATERAL VIEW explode(
  from_json(line_items, 'ARRAY<STRUCT<id: STRING, product_id: STRING, quantity: STRING, price: STRING>>')
) lines AS line;

-- catalogue
WITH sold AS (
  SELECT
    line.product_id,
    coalesce(line.parent_name, line.name) AS name,
    line.price,
    currency,
    line.image.src AS image,
    date_created_gmt AS at
  FROM raw
  LATERAL VIEW explode(
    from_json(
      line_items,
      'ARRAY<STRUCT<product_id: STRING, name: STRING, parent_name: STRING, price: STRING, image: STRUCT<src: STRING>>>'
    )
  ) lines AS line
)
SELECT
  product_id,
  max_by(name, at) AS name,
  max_by(price, at) AS price,
  max_by(currency, at) AS currency,
  max_by(image, at) FILTER (WHERE image <> '') AS image_url
FROM sold
WHERE product_id <> '0'
GROUP BY product_id
