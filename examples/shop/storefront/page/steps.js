// An order's way through the services, told from its one row in the read model. Pure: a row in, steps out.

const step = (state, title, about = "") => ({ state, title, about });

export function steps(order) {
  return [step("good", "Placed", "The service 'orders' has it."), stock(order), payment(order), end(order)];
}

function stock({ stock, status, reason }) {
  if (stock === "reserved") return step("good", "Stock reserved", "By the service 'inventory', all of it.");
  if (stock === "refused") return step("bad", "Not in stock", reason || "");
  if (stock === "released") return step("calm", "Stock given back", "It was reserved, and the order came to nothing.");
  return status === "placed" ? step("busy", "Reserving stock …", "Waiting for 'inventory'.") : step("calm", "No stock reserved");
}

function payment({ payment, stock, status, reason }) {
  switch (payment) {
    case "requested": return step("busy", "Taking the payment …", "'payments' has asked the card processor, which has not answered.");
    case "taken": return step("good", "Paid", "The card was charged.");
    case "declined": return step("bad", "Card declined", reason || "");
    case "voided": return status === "cancelled" ? step("calm", "No payment", "Given up; should the card have been charged, the money goes back.") : step("calm", "No payment");
    case "refunding": return step("busy", "Giving the money back …", "The card was charged after all.");
    case "refunded": return step("calm", "Nothing to pay", "What was charged, if anything, went back to the card.");
    default: return status === "placed" && stock !== "refused" ? step("waiting", "Payment", "Comes when the stock is reserved.") : step("calm", "No payment taken");
  }
}

function end({ status, reason }) {
  if (status === "confirmed") return step("good", "Confirmed", "It will be sent.");
  if (status === "cancelled") return step("bad", "Cancelled", reason || "");
  return step("waiting", "Confirmation", "Comes when the payment is taken.");
}

export const TONES = { placed: "busy", confirmed: "good", cancelled: "bad" };
