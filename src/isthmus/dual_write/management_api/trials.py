"""Table maps tried on real records, with nothing written: previews, and filters."""

from __future__ import annotations

from isthmus.apps.principal import Half
from isthmus.dual_write.filter_tester import Explained, FilterTester, Matching
from isthmus.dual_write.management_api.drafts import Draft, Drafts
from isthmus.dual_write.management_api.endpoint import endpoint
from isthmus.dual_write.preview import Preview, Previewer
from isthmus.dual_write.versions import Versions


class PreviewRecord(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record of the half `source`: its id, or its integration key as text with commas; and a draft to try it with."""

    source: Half
    record: str


class TryFilter(Draft, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filter of one half, of a draft or of the chosen version."""

    half: Half


class ExplainFilter(TryFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """And a record of that half: its id, or its integration key as text with commas."""

    record: int | str


class TrialCalls:
    """Table maps, saved or not, tried on real records. Nothing is written."""

    def __init__(self, versions: Versions, previewer: Previewer, tester: FilterTester) -> None:
        self._drafts = Drafts(versions)
        self._previewer = previewer
        self._tester = tester

    @endpoint("POST", "/table-maps/{name}/preview")
    async def preview_record(self, name: str, body: PreviewRecord) -> Preview:
        """Preview a record: what it would become on the other half, value by value, and what stands there now."""
        return await self._previewer.preview(await self._drafts.drafted(name, body), body.source, body.record)

    @endpoint("POST", "/table-maps/{name}/filter")
    async def try_filter(self, name: str, body: TryFilter) -> Matching:
        """Try a filter: how many records of a half pass now, and the first of those that do and that don't."""
        return await self._tester.matching(await self._drafts.drafted(name, body), body.half)

    @endpoint("POST", "/table-maps/{name}/filter/explain")
    async def explain_filter(self, name: str, body: ExplainFilter) -> Explained:
        """Explain why a record passes a filter or not: each condition with its values and outcome."""
        return await self._tester.explain(await self._drafts.drafted(name, body), body.half, body.record)
