"""The documented stack's Spark jobs: raw files to events, sequences and co-purchase lists, as Spark's and Delta's own
documentation composes them: DataFrame readers with a schema, where-clauses, window functions, a self-join.

Spark runs on the JVM in this process's session (`local[2]`) with our own engine's settings for few cores, more memory
and more partitions; adaptive execution and Arrow are on.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from jobs.lake.engine import LOCAL_SPARK
from tests.benchmarks.documented_stack.task import Progress, StackTask, run_stage

FAST = {
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.log.level": "ERROR",
    # Our own night is held to so much; with the 2 GB that local Spark has there, a large shop's self-join breaks off.
    "spark.driver.memory": "8g",
    # Adaptive execution joins what is small.
    "spark.sql.shuffle.partitions": "32",
}
EVENTS = ("event_id STRING, customer_id STRING, product_id STRING, event_type STRING, event_ts TIMESTAMP, "
          "market STRING, basket_id STRING, quantity BIGINT, price DOUBLE")  # fmt: skip
PRODUCTS = ("product_id STRING, name STRING, brand STRING, category STRING, department STRING, colour STRING, "
            "price DOUBLE, currency STRING, launched_at DATE, image_url STRING, updated_at STRING")  # fmt: skip
AVAILABILITY = "product_id STRING, market STRING, available BOOLEAN, updated_at STRING"
TYPES = ("click", "save", "bag", "purchase")
BROKEN = "\ufffd"
PARTNERS = 96
"""Partners of a product that its lists are chosen from in every market: four times a list."""


def session() -> SparkSession:
    """A session on the JVM, in the mode that Spark's documentation starts with."""
    builder = SparkSession.builder.master("local[2]").appName("documented stack")
    for key, value in (LOCAL_SPARK | FAST).items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def ingest(task: StackTask, progress: Progress) -> None:
    """Tables catalogue, availability and events (a partition a day) of the valid rows."""
    spark = session()
    products = _csv(spark, task, "products", PRODUCTS).where(
        F.col("product_id").isNotNull() & ~F.col("name").contains(BROKEN) & _price()
    )
    save(_newest(products, "product_id"), task, "catalogue")
    catalogue = read(spark, task, "catalogue").select("product_id")
    pairs = _csv(spark, task, "availability", AVAILABILITY).where(
        F.col("product_id").isNotNull() & F.col("market").isNotNull() & F.col("available").isNotNull()
    )
    known = pairs.join(F.broadcast(catalogue), "product_id", "left_semi")
    save(_newest(known, "product_id", "market"), task, "availability")
    present = F.lit(True)
    for name in ("event_id", "customer_id", "product_id", "market"):
        present &= F.col(name).isNotNull() & ~F.col(name).contains(BROKEN)
    valid = _csv(spark, task, "events", EVENTS).where(
        present
        & F.col("event_type").isin(*TYPES)
        & (F.col("event_ts") < F.lit(task.as_of).cast("timestamp"))
        & (F.coalesce("quantity", F.lit(1)) >= 1)
        & _price()
    )
    first = Window.partitionBy("event_id").orderBy("event_ts")
    events = (
        valid.join(F.broadcast(catalogue), "product_id", "left_semi")
        .withColumn("copy", F.row_number().over(first))
        .where("copy = 1")
        .drop("copy")
        .withColumn("event_date", F.to_date("event_ts"))
    )
    save(events.repartition("event_date"), task, "events", "event_date")


def sequences(task: StackTask, progress: Progress) -> None:
    """Tables customer_sequences and popularity, and the model's Parquet with products as numbers from 1 on."""
    spark = session()
    events = read(spark, task, "events")
    by_id = Window.orderBy("product_id")
    vocabulary = events.select("product_id").distinct().withColumn("item_id", F.row_number().over(by_id))
    save(vocabulary, task, "vocabulary")
    newest = Window.partitionBy("customer_id").orderBy(F.col("event_ts").desc(), F.col("event_id").desc())
    recent = (
        events.join(F.broadcast(read(spark, task, "vocabulary")), "product_id")
        .withColumn("age", F.row_number().over(newest))
        .where(F.col("age") <= task.kept_events)
    )
    columns = {"product_ids": "product_id", "event_types": "event_type", "event_timestamps": "event_ts",
               "item_ids": "item_id"}  # fmt: skip
    event = F.struct((-F.col("age")).alias("place"), *columns.values(), "market")
    grouped = recent.groupBy("customer_id").agg(F.sort_array(F.collect_list(event)).alias("history"))
    rows = grouped.select(
        "customer_id",
        *[F.col(f"history.{name}").alias(array) for array, name in columns.items()],
        F.element_at("history", -1)["market"].alias("market"),
        _published(task),
    )
    save(rows, task, "customer_sequences")
    newest_items = F.expr(f"slice(item_ids, greatest(size(item_ids) - {task.length - 1}, 1), {task.length})")
    read(spark, task, "customer_sequences").select(
        "customer_id",
        F.monotonically_increasing_id().alias("customer_number"),
        F.transform(newest_items, lambda item: item.cast("long")).alias("product"),
    ).write.mode("overwrite").parquet(f"{task.folder}/model_input")
    weight = F.lit(0.0)
    for kind, value in task.event_weights.items():
        weight = F.when(F.col("event_type") == kind, float(value)).otherwise(weight)
    of_late = events.where(F.col("event_date") >= F.lit(task.day(task.popular_days)).cast("date"))
    save(of_late.groupBy("market", "product_id").agg(F.sum(weight).alias("weight")), task, "popularity")


def bought(task: StackTask, progress: Progress) -> None:
    """Tables co_purchases (baskets of each ordered pair) and people_also_bought."""
    spark = session()
    basket = F.struct("customer_id", F.coalesce("basket_id", F.col("event_ts").cast("string"))).alias("basket")
    oldest = F.lit(task.day(task.basket_days)).cast("timestamp")
    purchases = (
        read(spark, task, "events")
        .where((F.col("event_type") == "purchase") & (F.col("event_ts") >= oldest))
        .select(basket, "product_id")
        .distinct()
    )
    other = purchases.select("basket", F.col("product_id").alias("other_id"))
    together = purchases.join(other, "basket").where("product_id <> other_id")
    save(together.groupBy("product_id", "other_id").agg(F.count("*").alias("baskets")), task, "co_purchases")
    strongest = Window.partitionBy("product_id").orderBy(F.col("baskets").desc(), "other_id")
    pairs = (
        read(spark, task, "co_purchases")
        .withColumn("place", F.row_number().over(strongest))
        .where(F.col("place") <= PARTNERS)
    )
    launched = read(spark, task, "catalogue").where(F.col("launched_at") < F.lit(task.as_of).cast("date"))
    live = (
        read(spark, task, "availability")
        .where("available")
        .join(F.broadcast(launched.select("product_id")), "product_id", "left_semi")
        .select("product_id", "market")
    )
    sold = pairs.join(live.withColumnRenamed("product_id", "other_id"), "other_id")
    sold = sold.join(live, ["product_id", "market"], "left_semi")
    best = Window.partitionBy("product_id", "market").orderBy("place")
    top = sold.withColumn("place", F.row_number().over(best)).where(F.col("place") <= task.top_n)
    member = F.struct("place", "other_id", F.col("baskets").cast("float").alias("score"))
    lists = top.groupBy("product_id", "market").agg(F.sort_array(F.collect_list(member)).alias("places"))
    rows = lists.select(
        "product_id", "market", F.col("places.other_id").alias("product_ids"), F.col("places.score").alias("scores"),
        _published(task),
    )  # fmt: skip
    save(rows, task, "people_also_bought")


def read(spark: SparkSession, task: StackTask, name: str) -> DataFrame:
    """A Delta table."""
    return spark.read.format("delta").load(task.table(name))


def save(frame: DataFrame, task: StackTask, name: str, *partition: str) -> None:
    """A Delta table; the night's partition is replaced, so that a rerun gives the same table."""
    of_night = frame if partition else frame.withColumn("as_of", F.lit(task.as_of).cast("date"))
    where = f"event_date < DATE'{task.as_of}'" if partition else f"as_of = DATE'{task.as_of}'"
    writer = of_night.write.format("delta").mode("overwrite").option("replaceWhere", where)
    writer.partitionBy(*(partition or ("as_of",))).save(task.table(name))


def _csv(spark: SparkSession, task: StackTask, folder: str, schema: str) -> DataFrame:
    return spark.read.schema(schema).option("header", "true").csv(f"{task.raw}/{folder}")


def _newest(rows: DataFrame, *key: str) -> DataFrame:
    newest = Window.partitionBy(*key).orderBy(F.col("updated_at").desc())
    return rows.withColumn("copy", F.row_number().over(newest)).where("copy = 1").drop("copy", "updated_at")


def _price() -> Column:
    return F.col("price").isNull() | (F.col("price") >= 0)


def _published(task: StackTask) -> Column:
    return F.lit(task.published_at.isoformat()).cast("timestamp").alias("event_timestamp")


if __name__ == "__main__":
    run_stage({"ingest": ingest, "sequences": sequences, "bought": bought})
