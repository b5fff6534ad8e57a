// Who looks, and with which rights.

import { call } from "./api.js";
import { h } from "./dom.js";
import { t } from "./text.js";

export const session = { caller: undefined, isOut: false, refused: undefined };

export const mayOperate = () => session.caller?.role === "operator";

/// Asks who the token in the session's cookie, or everybody on this machine, is.
export async function identify() {
  try {
    session.caller = await call("/v1/caller");
    session.isOut = false;
  } catch (error) {
    session.caller = undefined;
    session.isOut = true;
    if (error.status !== 401) session.refused = error.message;
  }
}

export async function logIn(token) {
  session.refused = undefined;
  try {
    await call("/session", { token });
  } catch (error) {
    session.refused = error.message;
    return;
  }
  await identify();
  // Browsers send the session by HTTPS only, except to this machine.
  if (session.isOut && !session.refused) session.refused = t("session.no_cookie");
}

export async function logOut() {
  await call("/session/end", {}).catch(() => {});
  session.caller = undefined;
  session.isOut = true;
}

export function logInView(then) {
  const send = async (event) => {
    event.preventDefault();
    const field = event.target.closest("form").elements.token;
    await logIn(field.value.trim());
    if (!session.isOut) field.value = "";
    then();
  };
  return h("form", { class: "login", onsubmit: send },
    h("h1", {}, t("session.title")), h("p", {}, t("session.text")),
    session.refused && h("p", { role: "alert", class: "headline bad" }, session.refused),
    h("label", {}, t("session.token"), h("input", { name: "token", type: "password", autocomplete: "current-password", required: true })),
    h("p", { class: "buttons" }, h("button", { type: "submit", class: "main" }, t("session.log_in"))));
}
