import { OciError } from '../errors';
import { visible } from './visible';

/** What a person is shown of a failure: no stack trace for what the user can mend, everything for what is our fault. */
export function failureReport(error: unknown): string {
  if (error instanceof OciError) return visible(error.message);
  if (error instanceof Error) return error.stack ?? error.message;
  return String(error);
}
