--! # Rentals of outfits with their first and last day, one growing file (Vibrent Clothes Rental): a rental counts
--! # as a purchase, and the rentals that begin together for one customer are a basket.
--! format = "csv"
--! delimiter = ";"
--! # One rental in sixteen is written twice, equal in every column.
--! max_rejected_share = 0.10
--! live_days = 365

-- events
SELECT
  `customer.id` AS customer_id,
  `outfit.id` AS product_id,
  'purchase' AS event_type,
  `rentalPeriod.start` AS event_ts,
  'NO' AS market,
  concat(`customer.id`, ' ', `rentalPeriod.start`) AS basket_id
FROM raw
