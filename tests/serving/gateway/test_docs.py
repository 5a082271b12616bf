import re

from starlette.testclient import TestClient


def test_the_documentation_page_loads_nothing_from_elsewhere(gateway: TestClient) -> None:
    page = gateway.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert gateway.get(source).status_code == 200
