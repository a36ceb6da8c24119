// Amounts, as every page writes them.

const EUROS = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });

export const euros = (cents) => (cents === null || cents === undefined ? "–" : EUROS.format(cents / 100));
