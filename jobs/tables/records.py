"""Describes the tables that record rejected rows, models, decisions, checks, publications and runs."""

from __future__ import annotations

from jobs.tables.table import Table

REJECTED = Table(
    "rejected",
    "Raw rows that were rejected, each with its reason; as_of is the night that first read the row.",
    (),
    """
source   STRING   the SELECT of the source file that read the row: events, catalogue or availability
reason   STRING   why it was rejected; 'excluded: ..' where the source's own SELECT excluded it
expected BOOLEAN  true if the source's own SELECT excluded it; such rows do not count towards the limit
raw      STRING   the row as the SELECT returned it, as JSON
""",
)

CORRECTED = Table(
    "corrected",
    "Former versions of events that a later delivery of the same event_id replaced; as_of is the replacing night.",
    ("event_id",),
    """
event_id    STRING     identity of the event
customer_id STRING     the customer, before the correction
product_id  STRING     the product
event_type  STRING     click, save, bag or purchase
event_ts    TIMESTAMP  time of the event, UTC
market      STRING     market
basket_id   STRING     the order that a purchase belongs to
quantity    BIGINT     number of pieces
price       DOUBLE     price of one piece
size        STRING     size of the piece
first_as_of DATE       the night that first read the replaced row
""",
)

RAW_FILES = Table(
    "raw_files",
    "Every raw file that was read, so that no file is read twice; as_of is the night that read it.",
    ("path",),
    """
path   STRING  path below the raw folder
bytes  BIGINT  size in bytes when it was read
""",
)

INPUTS = Table(
    "inputs",
    "Figures of each night's input, one a row; the input gates and the drift page use them.",
    ("figure", "slice"),
    """
figure STRING  name of the figure: events, late events, corrected events, catalogue products, available pairs, ..
slice  STRING  all, market CODE, type TYPE or column NAME
value  DOUBLE  the figure
""",
)

FORGOTTEN = Table(
    "forgotten",
    "Customers who were removed on request, as salted digests of their ids; ingest excludes their raw rows.",
    ("digest",),
    """
digest       STRING     HMAC-SHA256 of the customer_id with the lake's own salt, in hex
forgotten_at TIMESTAMP  time of the removal, UTC
proof        STRING     rows removed from each table, and what a check found afterwards, as JSON
""",
)

MODELS = Table(
    "models",
    "Every trained candidate model; the table champions says which winner serves which night.",
    ("model_id",),
    """
model_id STRING   identity of the model: kind, night and a hash of its training data and settings
kind     STRING   amf, closed_form, transformer, transformers4rec or popularity
champion BOOLEAN  true if it won its model comparison and was refitted on all data; other candidates cannot serve
ndcg     DOUBLE   held-out NDCG@10 as Recommended For You is served; null where nothing could be compared
reason   STRING   the decision in words
trained_on   STRING Delta versions of the tables it was trained on, as JSON; null in old rows
code_version STRING version and commit of the code that trained it
config_hash  STRING hash of the settings it was trained with
""",
)

CHAMPIONS = Table(
    "champions",
    "Decisions about which model serves, newest last: by a model comparison of the step train, or by a person.",
    ("decided_at",),
    """
decided_at TIMESTAMP  time of the decision, UTC
model_id   STRING     the model that serves nights from as_of on
decided_by STRING     contest (a model comparison), promote or demote
reason     STRING     the decision in words
""",
)

EVALUATIONS = Table(
    "evaluations",
    "Held-out quality of every candidate and baseline on the days after those that they learned from.",
    ("model_id", "dataset", "metric", "slice"),
    """
model_id STRING  the model or baseline
dataset  STRING  the days that were held out
metric   STRING  ndcg@10, recall@10, ..
slice    STRING  the part measured: as served; all; new to the customer; uplift over amf; new products; history N-M; ..
value    DOUBLE  mean over customers and days; of uplift over amf, a fraction
ci_low   DOUBLE  lower end of the 95 % bootstrap interval
ci_high  DOUBLE  upper end of the 95 % bootstrap interval
customers BIGINT number of customers in the mean
""",
)

GATES = Table(
    "gates",
    "The checks that decide whether a night may be published, each with its figure and limit.",
    ("gate",),
    """
gate   STRING   name of the check
value  DOUBLE   the figure found
rule   STRING   the limit, as text: at least 0.9
passed BOOLEAN  whether the figure is within the limit
detail STRING   how the figure was computed
step   STRING   the step that checked it: ingest, gate, or report, which only warns; null in old rows
accepted BOOLEAN true if it failed and an operator accepted the failure
""",
)

PUBLISHED = Table(
    "published",
    "Every publication of a night that is kept: one row for each table; live is true for the one that services see.",
    ("published_at", "surface"),
    """
surface       STRING     the published table; services read its rows of the night as_of
since         DATE       oldest night whose rows belong to it; as_of itself where every night is complete
model_id      STRING     the model that the rows come from; null if none
table_version BIGINT     Delta version of the table that has the published rows; null: the newest one
index_path    STRING     folder of the index, below the lake's root; null if none
published_at  TIMESTAMP  time of publication, UTC; of the live one also the event timestamp of every row online
live          BOOLEAN    true if it is live; null, as older code wrote it, means true
replaced_at   TIMESTAMP  time when another publication took its place, UTC; null while it is live, and in old rows
""",
)

RUNS = Table(
    "runs",
    "The ledger of runs: one row for each run and step, replaced when the step runs again.",
    ("run_id", "step"),
    """
step         STRING     name of the step
started_at   TIMESTAMP  UTC
ended_at     TIMESTAMP  UTC
status       STRING     running, done or failed; still running after its process ended means that it was killed
rows_in      BIGINT     number of rows read
rows_out     BIGINT     number of rows written
rejected     BIGINT     number of rows rejected
note         STRING     one line in words: what the step did, or its error
memory_mb    DOUBLE     peak resident memory of the step's process, in MB
code_version STRING     version and commit of the code
config_hash  STRING     hash of the settings
seconds      DOUBLE     duration of the step in seconds
versions     STRING     Delta versions of all tables before the step, as JSON
""",
)
