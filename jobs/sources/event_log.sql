-- A log of what visitors do, one row an event with the product's attributes beside it, in the raw folder itself: the
-- columns event_time, event_type (view, cart, remove_from_cart, purchase), product_id, category_code, brand, price,
-- user_id, user_session, as tracking systems and public data sets have them.
--
-- Rows that are equal in every column are pieces of one purchase, and one look or one step into the bag.
--
-- Adapt: the names of the events, the zone of the times (UTC where they name none), the market (a column of the country
-- or shop, where there are several), and the category: the last part of category_code here, its first the department.

-- events
SELECT
  user_id AS customer_id,
  product_id,
  CASE event_type
    WHEN 'view' THEN 'click' WHEN 'wishlist' THEN 'save' WHEN 'cart' THEN 'bag' ELSE event_type
  END AS event_type,
  event_time AS event_ts,
  CASE WHEN event_type = 'purchase' THEN concat_ws(' ', user_session, event_time) END AS basket_id,
  CASE WHEN event_type = 'purchase' THEN count(*) END AS quantity,
  price,
  CASE WHEN event_type = 'remove_from_cart' THEN 'taken out of the bag' END AS excluded
FROM raw
GROUP BY event_time, event_type, product_id, price, user_id, user_session;

-- catalogue
SELECT
  product_id,
  max_by(brand, event_time) FILTER (WHERE brand <> '') AS brand,
  max_by(element_at(split(category_code, '[.]'), -1), event_time) FILTER (WHERE category_code <> '') AS category,
  max_by(split_part(category_code, '.', 1), event_time) FILTER (WHERE category_code <> '') AS department,
  max_by(price, event_time) FILTER (WHERE price <> '') AS price
FROM raw
WHERE event_type <> 'remove_from_cart'
GROUP BY product_id
