// Who looks, and with which rights: the server writes the page for them.

import { call } from "./api.js";
import { t } from "./text.js";

export const mayOperate = () => document.body.dataset.role === "operator";

/// Whether the page asks for a token.
export const isOut = () => document.querySelector("form.login") !== null;

/// Sends the token of the form; `then` shows the page with the rights that it gives.
export async function logIn(form, then) {
  const field = form.elements.token;
  try {
    await call("/session", { token: field.value.trim() });
  } catch (error) {
    refuse(error.message);
    return;
  }
  await then();
  // Browsers send the session by HTTPS only, except to this machine.
  if (isOut()) refuse(t("session.no_cookie"));
}

function refuse(why) {
  const told = document.getElementById("refused");
  if (!told) return;
  told.textContent = why;
  told.hidden = false;
}

export const logOut = () => call("/session/end", {}).catch(() => {});
