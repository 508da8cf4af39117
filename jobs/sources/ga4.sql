-- Web events of Google Analytics 4 as its BigQuery export has them (tables events_YYYYMMDD), written from BigQuery as
-- JSON lines (EXPORT DATA or `bq extract`, "Newline delimited JSON") or Parquet, in the raw folder itself: one row an
-- event, and an event's products in its `items`. Name the files by their day (2026-04-05.jsonl.gz) to read each once;
-- GA4 still adds to a day for three days, and a file that is delivered again is read again.
--
-- Rows of other events than these four, and rows without items, give nothing: leave them out of the export.
-- An event that was sent twice, and a purchase whose last page was loaded again, count once.
-- A customer is the browser's `user_pseudo_id`; visitors without consent have none and are left out.
--
-- Adapt: the customer (`coalesce(user_id, user_pseudo_id)` where people log in; a column that no row fills is not in
-- the file), the market (the visitor's country), what a click is ('select_item' where 'view_item' is not measured: both
-- would count a visit to a page twice), and category and department (of
-- item_category to item_category5).

-- events
WITH shown AS (
  SELECT
    nullif(trim(user_pseudo_id), '') AS visitor,
    event_name,
    event_timestamp AS micros,
    nullif(get_json_object(geo, '$.country'), '(not set)') AS country,
    nullif(get_json_object(ecommerce, '$.transaction_id'), '(not set)') AS transaction,
    place,
    nullif(trim(item.item_id), '(not set)') AS product,
    item.quantity,
    item.price
  FROM raw
  LATERAL VIEW posexplode(
    from_json(items, 'ARRAY<STRUCT<item_id: STRING, price: STRING, quantity: STRING>>')
  ) all_items AS place, item
  WHERE event_name IN ('view_item', 'add_to_wishlist', 'add_to_cart', 'purchase')
), named AS (
  SELECT
    *,
    CASE
      WHEN event_name = 'purchase' AND transaction IS NOT NULL
      THEN concat_ws(' ', 'purchase', transaction, place, product)
      ELSE concat_ws(' ', visitor, event_name, micros, place, product)
    END AS event_id
  FROM shown
)
SELECT
  event_id,
  visitor AS customer_id,
  product AS product_id,
  CASE event_name
    WHEN 'view_item' THEN 'click' WHEN 'add_to_wishlist' THEN 'save' WHEN 'add_to_cart' THEN 'bag' ELSE 'purchase'
  END AS event_type,
  timestamp_micros(try_cast(micros AS BIGINT)) AS event_ts,
  country AS market,
  CASE WHEN event_name = 'purchase' THEN transaction END AS basket_id,
  quantity,
  price,
  CASE
    WHEN visitor IS NULL THEN 'no consent, so no visitor'
    WHEN product IS NULL THEN 'no item_id'
    WHEN row_number() OVER (PARTITION BY event_id ORDER BY micros) > 1 THEN 'sent twice'
  END AS excluded
FROM named;

-- catalogue
WITH shown AS (
  SELECT
    event_timestamp AS micros,
    nullif(trim(item.item_id), '(not set)') AS product,
    nullif(item.item_name, '(not set)') AS name,
    nullif(item.item_brand, '(not set)') AS brand,
    nullif(item.item_category, '(not set)') AS wide,
    nullif(item.item_category2, '(not set)') AS narrow,
    item.price
  FROM raw
  LATERAL VIEW explode(
    from_json(
      items,
      'ARRAY<STRUCT<item_id: STRING, item_name: STRING, item_brand: STRING, item_category: STRING,
      item_category2: STRING, price: STRING>>'
    )
  ) all_items AS item
  WHERE event_name IN ('view_item', 'add_to_wishlist', 'add_to_cart', 'purchase')
)
SELECT
  product AS product_id,
  max_by(name, micros) FILTER (WHERE name <> '') AS name,
  max_by(brand, micros) FILTER (WHERE brand <> '') AS brand,
  max_by(coalesce(narrow, wide), micros) FILTER (WHERE wide <> '') AS category,
  max_by(wide, micros) FILTER (WHERE wide <> '') AS department,
  max_by(price, micros) FILTER (WHERE price <> '') AS price
FROM shown
WHERE product <> ''
GROUP BY product
