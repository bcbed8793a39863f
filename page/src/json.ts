// JSON as the server writes it, with numbers that are not finite.

const STRING_OR_WORD = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;
const MARK = "\u0000";

/** The content of a text; NaN and Infinity, which JSON has not, are numbers. */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const marked = text.replace(STRING_OR_WORD, (found) => (found.startsWith('"') ? found : `"\\u0000${found}"`));
    return JSON.parse(marked, (_, value) =>
      typeof value === "string" && value.startsWith(MARK) ? Number(value.slice(MARK.length)) : value,
    );
  }
}
