--! # Invoice lines of an online gift shop, one file a day (UCI "Online Retail"): every event is a purchase.
--! format = "csv"
--! max_rejected_share = 0.02
--! closed_weekdays = ["saturday"]
--! live_days = 60

-- events
-- Lines of one invoice that are equal in every column are one event: the shop's system wrote them twice.
SELECT
  split_part(CustomerID, '.', 1) AS customer_id,
  StockCode AS product_id,
  'purchase' AS event_type,
  InvoiceDate AS event_ts,
  Country AS market,
  InvoiceNo AS basket_id,
  Quantity AS quantity,
  UnitPrice AS price,
  CASE
    WHEN InvoiceNo LIKE 'C%' THEN 'cancellation'
    WHEN NOT StockCode RLIKE '^[0-9]{5}[A-Za-z]*$' THEN 'no product (postage, fees, adjustments)'
    WHEN CAST(Quantity AS BIGINT) < 1 THEN 'stock correction'
    WHEN CustomerID IS NULL OR trim(CustomerID) = '' THEN 'missing customer'
  END AS excluded
FROM raw;

-- catalogue
SELECT product_id, name, price, 'GBP' AS currency, launched_at
FROM (
  SELECT
    StockCode AS product_id,
    max_by(trim(Description), InvoiceDate) AS name,
    max_by(UnitPrice, InvoiceDate) AS price,
    min(substr(InvoiceDate, 1, 10)) AS launched_at
  FROM raw
  WHERE StockCode RLIKE '^[0-9]{5}[A-Za-z]*$' AND CAST(Quantity AS BIGINT) > 0 AND CAST(UnitPrice AS DOUBLE) > 0
    AND trim(Description) <> ''
  GROUP BY StockCode
) AS sold
