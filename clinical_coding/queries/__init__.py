"""Documentation gaps and physician queries: from an encounter's notes, codes and findings to compliant questions.

``rules`` and ``measures`` say what a rule is, ``loading`` makes the rules of ``configs/queries.yaml`` ready,
``phrases`` and ``chart`` look for their indicators, ``asking`` puts the queries together, and ``compliance`` with
``wording`` judges them. It reads no database and sends nothing.
"""

from clinical_coding.queries.asking import find_queries
from clinical_coding.queries.compliance import Basis, Fault, faults_of
from clinical_coding.queries.loading import QueryRules, load_query_rules
from clinical_coding.queries.rules import Purpose, QueryRule

__all__ = ["Basis", "Fault", "Purpose", "QueryRule", "QueryRules", "faults_of", "find_queries", "load_query_rules"]
