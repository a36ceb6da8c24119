// A picture for each kind of product, drawn here: nothing is asked of anyone else.

import { html } from "dashboard/parts.js";

const LINES = {
  Tea: ["M60 92c-26-8-34-34-20-62 22 8 34 30 20 62z", "M60 92c2-28 14-46 36-50 4 28-10 48-36 50z", "M60 92c-4-20-10-38-20-62", "M60 92c8-20 20-36 36-50", "M60 92v14"],
  Coffee: ["M40 78c-10-18 0-46 18-52 18-6 34 8 32 28-2 22-36 46-50 24z", "M46 82c16-8 4-20 18-30 8-6 12-12 10-22"],
  Pots: ["M32 52h56c6 18 2 40-8 48H40c-10-8-14-30-8-48z", "M88 58c16-4 20 24-4 30", "M32 62c-10-2-12-10-18-14", "M44 52c2-12 30-12 32 0", "M60 43v-8"],
  Cups: ["M32 46h50v28c0 14-10 24-25 24S32 88 32 74z", "M82 52c20-4 20 28-2 28", "M46 34c-4-6 4-8 0-16", "M62 34c-4-6 4-8 0-16", "M28 106h60"],
  Tools: ["M40 28v38", "M60 28v38", "M80 28v38", "M34 66h52", "M50 28v38", "M70 28v38", "M52 66l2 40h12l2-40"],
  Gifts: ["M28 54h64v48H28z", "M22 38h76v16H22z", "M60 38v64", "M60 38c-8-22-30-18-24-6 4 6 14 6 24 6z", "M60 38c8-22 30-18 24-6-4 6-14 6-24 6z"],
};
export const CATEGORIES = Object.keys(LINES);
const SHADES = 6;

export function Picture({ category, sku }) {
  const shade = [...sku].reduce((sum, each) => sum + each.charCodeAt(0), 0) % SHADES;
  return html`<svg class=${`picture-of shade-${shade}`} viewBox="0 0 120 120" aria-hidden="true">
    ${(LINES[category] || []).map((line) => html`<path d=${line} />`)}</svg>`;
}
