-- Orders of a Shopify shop: the files that Orders > Export > "Plain CSV file" in the shop's admin gives
-- (orders_export.csv), in the raw folder itself. With the products export beside them, take
-- shopify_orders_products.sql instead: it recommends products, not each of their sizes.
--
-- One row is a line of an order. Only an order's first row has what belongs to the whole order (status, countries,
-- cancellation), so it is carried to the others. An order may be in several exports: its pieces are counted once.
-- A customer is the hash of the e-mail address, or of the telephone number where there is none, so that the lake keeps
-- neither; an order without both is a customer of its own. To look up a customer, hash in the same way:
-- sha2(lower(trim(address)), 256).
--
-- Adapt: the product (the SKU of a variant; the line's name where it has none), the market, and which orders count:
-- those that are not paid yet do; those cancelled, refunded, voided or expired do not. A partly refunded order counts
-- whole, since the export does not say which line came back.

-- events
WITH lines AS (
  SELECT
    Name AS order_name,
    coalesce(`Lineitem sku`, `Lineitem name`) AS product,
    `Created at` AS created_at,
    try_cast(`Lineitem quantity` AS BIGINT) AS pieces,
    try_cast(`Lineitem price` AS DOUBLE) AS price,
    `Lineitem requires shipping` AS ships,
    max(nullif(lower(trim(Email)), '')) OVER of_order AS address,
    max(nullif(regexp_replace(coalesce(Phone, `Billing Phone`), '[^0-9]', ''), '')) OVER of_order AS phone,
    max(coalesce(`Shipping Country`, `Billing Country`)) OVER of_order AS country,
    max(`Cancelled at`) OVER of_order AS cancelled_at,
    max(`Financial Status`) OVER of_order AS status,
    -- Each export has an order's status once.
    count(`Financial Status`) OVER of_order AS exports
  FROM raw
  WINDOW of_order AS (PARTITION BY Name)
)
SELECT
  concat_ws(' ', order_name, product) AS event_id,
  coalesce(sha2(address, 256), sha2(phone, 256), concat('order ', order_name)) AS customer_id,
  product AS product_id,
  'purchase' AS event_type,
  min(created_at) AS event_ts,
  country AS market,
  order_name AS basket_id,
  ceil(sum(pieces) / greatest(exports, 1)) AS quantity,
  max(price) AS price,
  CASE
    WHEN cancelled_at IS NOT NULL THEN 'cancelled'
    WHEN status IN ('refunded', 'voided', 'expired') THEN status
    WHEN max(lower(trim(ships))) = 'false' THEN 'no product (gift card, tip, service)'
  END AS excluded
FROM lines
GROUP BY order_name, product, address, phone, country, cancelled_at, status, exports;

-- catalogue
SELECT
  coalesce(`Lineitem sku`, `Lineitem name`) AS product_id,
  max_by(`Lineitem name`, `Created at`) AS name,
  max_by(Vendor, `Created at`) FILTER (WHERE Vendor <> '') AS brand,
  max_by(`Lineitem price`, `Created at`) AS price
FROM raw
GROUP BY 1
