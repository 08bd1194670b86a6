"""Failed assertions of the shipped contract are reported like those of tests."""

import pytest

pytest.register_assert_rewrite("orchestrator.store.contract")
