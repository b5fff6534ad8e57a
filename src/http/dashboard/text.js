// What the dashboard says, in the reader's language. A message may have two forms, "{n} event|{n} events": for one, and for others.

import en from "./language/en.js";
import ko from "./language/ko.js";

const LANGUAGES = { en, ko };
const KEY = "feebox.language";

const wished = localStorage.getItem(KEY) ?? (navigator.language?.startsWith("ko") ? "ko" : "en");
let current = wished in LANGUAGES ? wished : "en";
document.documentElement.lang = current;

export const language = () => current;

export function setLanguage(name) {
  current = name;
  localStorage.setItem(KEY, name);
  document.documentElement.lang = name;
}

export function t(key, values = {}) {
  const forms = (LANGUAGES[current][key] ?? en[key] ?? key).split("|");
  const form = forms.length > 1 && Number(values.n) !== 1 ? forms[1] : forms[0];
  return form.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? new Intl.NumberFormat(current).format(value) : value ?? whole;
  });
}
