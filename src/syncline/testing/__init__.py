"""For tests: rules without a database, the whole application without a sleep, and the suite that every event log must pass.

`given(service, …).when(command).then(…)`; of a saga `given(saga, …).when(event).then(…)`; `in_memory(app)`; a `Clock` to set;
`from syncline.testing.conformance import *`.
"""

from syncline.testing.clock import Clock
from syncline.testing.memory import InMemory, in_memory
from syncline.testing.scenario import SagaScenario, SagaVerdict, Scenario, Verdict, given

__all__ = ["Clock", "InMemory", "SagaScenario", "SagaVerdict", "Scenario", "Verdict", "given", "in_memory"]
