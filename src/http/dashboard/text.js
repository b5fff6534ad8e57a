// What the scripts say, in the language of the page. A message may have two forms, "{n} event|{n} events": for one, and for others.

const LANGUAGES = ["en", "ko"];
const COOKIE = "feebox_language";
const YEAR_SECONDS = 365 * 86_400;
const messages = {};

/// The page's language.
export const language = () => (LANGUAGES.includes(document.documentElement.lang) ? document.documentElement.lang : "en");

/// Loads what the page's language says.
export async function speak() {
  const name = language();
  messages[name] ??= (await import(`./language/${name}.js`)).default;
}

/// The server writes the next page in this language.
export function chooseLanguage(name) {
  document.cookie = `${COOKIE}=${name}; path=/; max-age=${YEAR_SECONDS}; SameSite=Strict`;
}

export function t(key, values = {}) {
  const forms = (messages[language()]?.[key] ?? key).split("|");
  const form = forms.length > 1 && Number(values.n) !== 1 ? forms[1] : forms[0];
  return form.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? new Intl.NumberFormat(language()).format(value) : value ?? whole;
  });
}
