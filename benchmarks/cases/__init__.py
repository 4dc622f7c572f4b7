"""The cases, in the order in which they are measured."""

from benchmarks.case import Case
from benchmarks.cases.growth import Growth
from benchmarks.cases.intake import IntakeAlone
from benchmarks.cases.latency import Latency
from benchmarks.cases.one_run import OneRun, OneRunWithCalls
from benchmarks.cases.parts import PartsAlone
from benchmarks.cases.restore import Restore
from benchmarks.cases.single_items import SingleItems
from benchmarks.cases.streams import Streams
from benchmarks.cases.tenants import Tenants

CASES: tuple[type[Case], ...] = (
    OneRun,
    OneRunWithCalls,
    SingleItems,
    Latency,
    Growth,
    Tenants,
    IntakeAlone,
    PartsAlone,
    Streams,
    Restore,
)
