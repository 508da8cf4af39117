-- Orders of a WooCommerce shop as CSV with one row an item, in the raw folder itself. The export plug-ins "Customer /
-- Order / Coupon Export" (format "Default - One Row per Item") and "Import Export Suite" (line items in separate rows)
-- name the columns alike. For orders from the shop's API, take woocommerce_api.sql.
--
-- A customer is the account's number. A guest (customer_id 0) is the hash of the e-mail address, so that the lake keeps
-- no address; one without is a customer of one order. To look up a guest, hash in the same way:
-- concat('guest ', sha2(lower(trim(address)), 256)).
-- Lines of one product in an order are one event; pieces that were given back are taken off.
--
-- Adapt: the zone of the times (the shop's own; 'UTC' as it stands), the order of month and day where times have
-- slashes, the product (item_product_id stands for all sizes, item_sku for one), the market, and which orders count:
-- `completed`, `processing` and `on-hold` do.

-- events
WITH lines AS (
  SELECT
    order_id,
    item_product_id AS product,
    coalesce(
      try_to_timestamp(regexp_replace(order_date, ' +', ' '), 'M/d/yyyy H:mm[:ss]'), try_cast(order_date AS TIMESTAMP)
    ) AS local_time,
    nullif(customer_id, '0') AS account,
    nullif(lower(trim(billing_email)), '') AS address,
    coalesce(shipping_country, billing_country) AS country,
    replace(lower(trim(status)), 'wc-', '') AS status,
    try_cast(item_quantity AS BIGINT) AS ordered,
    -- Some exports write what was given back as a negative number.
    try_cast(item_quantity AS BIGINT) - abs(coalesce(try_cast(item_refunded_qty AS BIGINT), 0)) AS pieces,
    try_cast(item_total AS DOUBLE) AS total
  FROM raw
)
SELECT
  concat_ws(' ', order_id, product) AS event_id,
  coalesce(account, concat('guest ', sha2(address, 256)), concat('order ', order_id)) AS customer_id,
  product AS product_id,
  'purchase' AS event_type,
  to_utc_timestamp(min(local_time), 'UTC') AS event_ts,
  country AS market,
  order_id AS basket_id,
  sum(pieces) AS quantity,
  round(sum(total) / nullif(sum(ordered), 0), 2) AS price,
  CASE
    WHEN status NOT IN ('completed', 'processing', 'on-hold') THEN concat('order ', status)
    WHEN sum(pieces) < 1 THEN 'given back'
    WHEN product IS NULL THEN 'no product (fee or deleted)'
  END AS excluded
FROM lines
GROUP BY order_id, product, account, address, country, status;

-- catalogue
WITH sold AS (
  SELECT
    item_product_id,
    item_name,
    round(try_cast(item_total AS DOUBLE) / nullif(try_cast(item_quantity AS DOUBLE), 0), 2) AS price,
    try_cast(order_id AS BIGINT) AS number
  FROM raw
)
SELECT item_product_id AS product_id, max_by(item_name, number) AS name, max_by(price, number) AS price
FROM sold
WHERE item_product_id IS NOT NULL
GROUP BY item_product_id
