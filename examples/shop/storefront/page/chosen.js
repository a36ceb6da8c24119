// What the visitor has chosen, kept in this browser: the basket (sku -> quantity), who is buying, and the card.

import { useEffect, useState } from "dashboard/parts.js";

const KEY = "shop.chosen";
const NOTHING = { basket: {}, customer: "", card: "" };
const listening = new Set();

function held() {
  try { return { ...NOTHING, ...JSON.parse(localStorage.getItem(KEY)) }; } catch { return NOTHING; }
}

export function choose(change) {
  localStorage.setItem(KEY, JSON.stringify({ ...held(), ...change }));
  listening.forEach((each) => each());
}

export function put(sku, quantity) {
  const { [sku]: _, ...others } = held().basket;
  choose({ basket: quantity > 0 ? { ...others, [sku]: quantity } : others });
}

export function useChosen() {
  const [now, setNow] = useState(held);
  useEffect(() => {
    const changed = () => setNow(held());
    listening.add(changed);
    addEventListener("storage", changed);
    return () => { listening.delete(changed); removeEventListener("storage", changed); };
  }, []);
  return now;
}

// The token of each order that was placed in this tab: reads that carry it see the order, or are refused.
export const tokens = {
  of: (order) => sessionStorage.getItem(`shop.token.${order}`) || "",
  keep: (order, token) => sessionStorage.setItem(`shop.token.${order}`, token),
};
