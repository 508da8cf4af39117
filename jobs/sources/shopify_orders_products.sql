-- Orders and products of a Shopify shop, in two sub-folders of the raw folder: orders/ with what Orders > Export >
-- "Plain CSV file" in the shop's admin gives, products/ with what Products > Export gives (the newest file alone, of
-- all products). A product is what has a page (its Handle); orders name a variant's SKU, which leads to it.
--
-- One row of orders is a line of an order. Only an order's first row has what belongs to the whole order (status,
-- countries, cancellation), so it is carried to the others. An order may be in several exports: its pieces are counted
-- once. Only a product's first row has its title, brand and type; further rows are its variants and images.
-- A customer is the hash of the e-mail address, or of the telephone number where there is none, so that the lake keeps
-- neither; an order without both is a customer of its own. To look up a customer, hash in the same way:
-- sha2(lower(trim(address)), 256).
--
-- Adapt: the market, the category (the shop's own Type here, or the last part of `Product Category`), the department
-- (from `Tags`, say), the currency, and which orders count: those that are not paid yet do; those cancelled, refunded,
-- voided or expired do not. A partly refunded order counts whole, since the export does not say which line came back.

-- events
WITH skus AS (
  -- Spreadsheets are told by a leading quote that a SKU is no number.
  SELECT ltrim('\'', trim(`Variant SKU`)) AS sku, min(Handle) AS handle FROM products GROUP BY 1
), lines AS (
  SELECT
    Name AS order_name,
    skus.handle,
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
  FROM orders LEFT JOIN skus ON skus.sku = `Lineitem sku`
  WINDOW of_order AS (PARTITION BY Name)
)
SELECT
  concat_ws(' ', order_name, handle) AS event_id,
  coalesce(sha2(address, 256), sha2(phone, 256), concat('order ', order_name)) AS customer_id,
  handle AS product_id,
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
    WHEN handle IS NULL THEN 'not in the products export'
  END AS excluded
FROM lines
GROUP BY order_name, handle, address, phone, country, cancelled_at, status, exports;

-- catalogue
SELECT
  Handle AS product_id,
  max(Title) AS name,
  max(Vendor) AS brand,
  max(Type) AS category,
  min(try_cast(`Variant Price` AS DOUBLE)) AS price,
  max_by(`Image Src`, `Image Position` = '1') AS image_url
FROM products
GROUP BY Handle;

-- availability
SELECT shown.handle AS product_id, countries.country AS market, shown.active AS available
FROM (SELECT Handle AS handle, max(Status) = 'active' AS active FROM products GROUP BY Handle) AS shown
CROSS JOIN (
  SELECT DISTINCT coalesce(`Shipping Country`, `Billing Country`) AS country
  FROM orders
) AS countries
WHERE countries.country IS NOT NULL
