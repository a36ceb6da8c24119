// Rows of a view as they are, and as they change. One stream at a time, and none while the tab is hidden: a browser opens
// only six connections to one host, for all its tabs.

import { follow, keyPath } from "dashboard/api.js";
import { useEffect, useState } from "dashboard/parts.js";

const NOTHING = { rows: new Map(), token: "", isThere: false, changed: new Set(), error: null };
const SETTLE_MS = 25;

export function useRows(view, query = "") {
  const [seen, setSeen] = useState(NOTHING);
  const [isShown, setShown] = useState(!document.hidden);
  useEffect(() => {
    const turned = () => setShown(!document.hidden);
    document.addEventListener("visibilitychange", turned);
    return () => document.removeEventListener("visibilitychange", turned);
  }, []);
  useEffect(() => {
    if (!isShown) return undefined;
    const stop = new AbortController();
    const rows = new Map();
    let token = "";
    let changed = new Set();
    let due = null;
    const tell = () => { due = null; setSeen({ rows: new Map(rows), token, isThere: true, changed, error: null }); changed = new Set(); };
    follow(`syncline/views/${view}/changes?snapshot=true${query}`, (kind, data) => {
      token = data.token;
      if (kind === "reset") rows.clear();
      else if (kind === "delete") rows.delete(keyPath(Object.values(data.key)));
      else if (kind === "upsert") { const key = keyPath(Object.values(data.key)); if (rows.has(key)) changed.add(key); rows.set(key, data.row); }
      due ??= setTimeout(tell, SETTLE_MS);
    }, stop.signal).catch((error) => setSeen({ ...NOTHING, error }));
    return () => { stop.abort(); clearTimeout(due); };
  }, [view, query, isShown]);
  return seen;
}
