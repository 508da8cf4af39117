-- A marketplace's tables as its database gives them, each in a sub-folder of the raw folder: orders/ (order_id,
-- customer_id, order_status, order_purchase_timestamp), order_items/ (order_id, order_item_id, product_id, price),
-- customers/ (customer_id, customer_unique_id) and products/ (product_id, product_category_name). Whole tables, in
-- files without a day in their names: a join needs rows of all of them in the same night.
--
-- An order has a customer_id of its own; who comes again has the same customer_unique_id. One row of order_items is one
-- piece: an order's pieces of one product are one event with their number as its quantity.
--
-- Adapt: the names of tables and columns, the zone of the times (the marketplace's own; 'UTC' as it stands), the market
-- (none here: one country), the product's name, and which orders count: those cancelled or unavailable do not.

-- events
SELECT
  concat_ws(' ', order_items.order_id, order_items.product_id) AS event_id,
  max(customers.customer_unique_id) AS customer_id,
  order_items.product_id,
  'purchase' AS event_type,
  to_utc_timestamp(max(try_cast(orders.order_purchase_timestamp AS TIMESTAMP)), 'UTC') AS event_ts,
  order_items.order_id AS basket_id,
  count(DISTINCT order_items.order_item_id) AS quantity,
  max(try_cast(order_items.price AS DOUBLE)) AS price,
  CASE
    WHEN max(orders.order_id) IS NULL THEN 'no such order'
    WHEN max(orders.order_status) IN ('canceled', 'cancelled', 'unavailable') THEN max(orders.order_status)
  END AS excluded
FROM order_items
LEFT JOIN orders ON orders.order_id = order_items.order_id
LEFT JOIN customers ON customers.customer_id = orders.customer_id
GROUP BY order_items.order_id, order_items.product_id;

-- catalogue
SELECT
  products.product_id,
  max(products.product_category_name) AS category,
  max_by(order_items.price, orders.order_purchase_timestamp) AS price
FROM products
LEFT JOIN order_items ON order_items.product_id = products.product_id
LEFT JOIN orders ON orders.order_id = order_items.order_id
GROUP BY products.product_id
