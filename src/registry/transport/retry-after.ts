/** An HTTP date in the form of today, or in that of RFC 850. `Date.parse` alone would take `-5` for a day in May. */
const httpDate = /^[A-Z][a-z]{2,8}, \d\d[ -][A-Z][a-z]{2}[ -]\d{2,4} \d\d:\d\d:\d\d GMT$/;

/**
 * How many milliseconds a `Retry-After` asks to wait, given in seconds or as a date; `undefined` for anything else, and
 * for a time that is over. It may ask for years: whoever waits caps it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110.html#name-retry-after
 */
export function retryAfterOf(header: string | undefined): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,15}$/.test(text)) return Number(text) * 1000;
  const delay = httpDate.test(text) ? Date.parse(text) - Date.now() : Number.NaN;
  return delay > 0 ? delay : undefined;
}
