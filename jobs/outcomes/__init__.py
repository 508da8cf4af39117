"""What came of the products that customers were shown, day by day."""
