"""The tables in which the nights record themselves: what was left out, decided, checked, published and done."""

from __future__ import annotations

from jobs.tables.table import Table

REJECTED = Table(
    "rejected",
    "Raw rows that are not in events, catalogue or availability, each with its reason; as_of is first seen.",
    (),
    """
source   STRING   the source file's SELECT that read the row: events, catalogue or availability
reason   STRING   why: what is wrong, or 'excluded: ..' where the source's author left the row out on purpose
expected BOOLEAN  true where the source's own SELECT excluded the row; such rows do not count against the limit
raw      STRING   the row as the SELECT gave it, as JSON
""",
)

CORRECTED = Table(
    "corrected",
    "Rows of events that a later delivery of the same event_id replaced, as they were; as_of is the replacing night.",
    ("event_id",),
    """
event_id    STRING     identity of the event
customer_id STRING     who acted, before the correction
product_id  STRING     on what
event_type  STRING     click, save, bag or purchase
event_ts    TIMESTAMP  when, UTC
market      STRING     market
basket_id   STRING     order
quantity    BIGINT     pieces
price       DOUBLE     price of one piece
first_as_of DATE       the night that had read the replaced row
""",
)

RAW_FILES = Table(
    "raw_files",
    "Every raw file the night has read, so that it is read once; as_of is the night that read it.",
    ("path",),
    """
path   STRING  path below the raw folder
bytes  BIGINT  size when it was read
""",
)

INPUTS = Table(
    "inputs",
    "What each night's input looked like, one figure a row: for the gates of the input and the page of drift.",
    ("figure", "slice"),
    """
figure STRING  what was counted: events, late events, corrected events, catalogue products, available pairs, ..
slice  STRING  all, market CODE, type TYPE or column NAME
value  DOUBLE  the figure
""",
)

FORGOTTEN = Table(
    "forgotten",
    "Customers that were removed on request, without their id: a salted digest keeps their raw rows from coming back.",
    ("digest",),
    """
digest       STRING     HMAC-SHA256 of the customer_id under the lake's own salt, in hex
forgotten_at TIMESTAMP  when it was done, UTC
proof        STRING     rows removed by table, and what was read back after it, as JSON
""",
)

MODELS = Table(
    "models",
    "Every trained candidate; champions says who of those that won serves which night.",
    ("model_id",),
    """
model_id STRING   identity: kind, night and a hash of what it was trained on
kind     STRING   amf, transformer or transformers4rec
champion BOOLEAN  whether it won its comparison and was then fitted on everything; the others cannot serve
ndcg     DOUBLE   held-out NDCG@10 of the comparison
reason   STRING   the decision in words
trained_on   STRING Delta versions of the tables it was trained on, as JSON; null in nights from before they were kept
code_version STRING version of this package and commit of its checkout that trained it
config_hash  STRING hash of the settings it was trained under
""",
)

CHAMPIONS = Table(
    "champions",
    "Decisions about who serves, newest last: by a contest of the step train, or by a person who promotes or demotes.",
    ("decided_at",),
    """
decided_at TIMESTAMP  when it was decided, UTC
model_id   STRING     the model that serves nights from as_of on
decided_by STRING     contest, promote or demote
reason     STRING     the decision in words
""",
)

EVALUATIONS = Table(
    "evaluations",
    "Held-out quality of every candidate and baseline, by global time split.",
    ("model_id", "dataset", "metric", "slice"),
    """
model_id STRING  model or baseline
dataset  STRING  what it was measured on and the split's time
metric   STRING  ndcg@10, recall@10, ..
slice    STRING  all; new to the customer; new products; history N-M; target TYPE; market CODE; cost; decision
value    DOUBLE  mean over customers
ci_low   DOUBLE  lower end of the 95 % bootstrap interval
ci_high  DOUBLE  upper end of it
customers BIGINT customers the mean is over
""",
)

GATES = Table(
    "gates",
    "Every check between staging and publishing, with its figure and limit.",
    ("gate",),
    """
gate   STRING   what was checked
value  DOUBLE   the figure found
rule   STRING   the limit, as text: at least 0.9
passed BOOLEAN  whether the figure kept it
detail STRING   what the figure is made of
step   STRING   the step that checked it: ingest or gate; null in nights from before there were two
accepted BOOLEAN true where it failed and a person let it through on purpose
""",
)

PUBLISHED = Table(
    "published",
    "What is live: one row a surface, flipped in one commit.",
    ("surface",),
    """
surface       STRING     the table whose as_of rows services see
since         DATE       first night that its rows come from; as_of itself where every night is complete
model_id      STRING     the model behind it; null where none is
table_version BIGINT     Delta version of the surface's table when it was published
index_path    STRING     index directory below the lake's root; null where none is
published_at  TIMESTAMP  UTC; also the event timestamp of every row in the online store
""",
)

RUNS = Table(
    "runs",
    "The ledger: one row a run and step, replaced when the step is run again.",
    ("run_id", "step"),
    """
step         STRING     step of the night
started_at   TIMESTAMP  UTC
ended_at     TIMESTAMP  UTC
status       STRING     running, done or failed; one that says running and does not run was killed
rows_in      BIGINT     rows read
rows_out     BIGINT     rows written
rejected     BIGINT     rows rejected
note         STRING     one line for a person: what was done, or the error
memory_mb    DOUBLE     peak resident memory of the step's process
code_version STRING     version of this package and commit of its checkout
config_hash  STRING     hash of the settings in force
seconds      DOUBLE     how long the step took
versions     STRING     Delta versions of the tables as they were before the step, as JSON
""",
)
