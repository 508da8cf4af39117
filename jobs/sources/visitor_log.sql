-- A log of what visitors do with nothing but ids, one row an event, in the raw folder itself: the columns timestamp
-- (milliseconds since 1970), visitorid, event (view, addtocart, transaction), itemid, transactionid, as tracking
-- systems and public data sets have them.
--
-- Rows that are equal in every column are pieces of one purchase, and one look or one step into the bag.
--
-- Adapt: the names of the events; where times are seconds, timestamp_seconds. A catalogue from another file is a
-- sub-folder of its own and a SELECT `-- catalogue` over it; the files of this log then move to a sub-folder too.

-- events
SELECT
  visitorid AS customer_id,
  itemid AS product_id,
  CASE event
    WHEN 'view' THEN 'click' WHEN 'wishlist' THEN 'save' WHEN 'addtocart' THEN 'bag' WHEN 'transaction' THEN 'purchase'
    ELSE event
  END AS event_type,
  timestamp_millis(try_cast(`timestamp` AS BIGINT)) AS event_ts,
  transactionid AS basket_id,
  CASE WHEN event = 'transaction' THEN count(*) END AS quantity
FROM raw
GROUP BY `timestamp`, visitorid, event, itemid, transactionid
