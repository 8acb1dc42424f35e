import { InvalidOptionError } from '../errors';

/** The latest time that RFC 3339 can write. */
const latestSecond = Date.UTC(9999, 11, 31, 23, 59, 59) / 1000;

/**
 * The SOURCE_DATE_EPOCH variable: seconds since 1970.
 *
 * @see https://reproducible-builds.org/specs/source-date-epoch/
 * @throws {InvalidOptionError}
 */
export function sourceDateEpoch(environment: Readonly<Record<string, string | undefined>>): number | undefined {
  const text = environment.SOURCE_DATE_EPOCH;
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds <= latestSecond) return seconds;
  throw invalid('SOURCE_DATE_EPOCH', text);
}

/**
 * The `created` option in RFC 3339, without fractions of a second where there are none.
 *
 * @throws {InvalidOptionError}
 */
export function createdTime(option: string | number | undefined, epoch: number | undefined): string {
  if (typeof option !== 'string') {
    const seconds = option ?? epoch ?? 0;
    if (seconds > latestSecond) throw invalid('option "created"', String(option));
    return formatTime(seconds * 1000);
  }
  const [, day] = /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.exec(option) ?? [];
  const milliseconds = Date.parse(option);
  if (day === undefined || Number.isNaN(milliseconds) || !isDay(day)) throw invalid('option "created"', option);
  const time = formatTime(milliseconds);
  // An offset can lead out of the four-digit years.
  if (!/^\d{4}-/.test(time)) throw invalid('option "created"', option);
  return time;
}

/** Whether a month has the day: `Date` takes the 30th of February for the 2nd of March. */
function isDay(day: string): boolean {
  return new Date(day).toISOString().startsWith(day);
}

function formatTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace('.000Z', 'Z');
}

function invalid(thing: string, found: string): InvalidOptionError {
  const expected = 'seconds since 1970, or (as "created") a time such as 2026-01-31T12:00:00Z';
  return new InvalidOptionError(`${thing}: expected ${expected}, found ${JSON.stringify(found)}`, { expected, found });
}
