from typing import get_args

from clinical_coding.codes import CodeSystem
from scripts.options import CodeSystemName


def test_the_choices_of_the_command_line_are_the_code_systems() -> None:
    assert set(get_args(CodeSystemName)) == set(CodeSystem)
