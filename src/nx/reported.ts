import { failureReport } from '../terminal/failure';
import { devkit } from './devkit';

/** Runs an executor's action: what it returns is printed, a failure is printed and makes the target fail. */
export async function reported(action: () => Promise<string>): Promise<{ success: boolean }> {
  try {
    process.stdout.write(`${await action()}\n`);
    return { success: true };
  } catch (error) {
    devkit().logger.error(failureReport(error));
    return { success: false };
  }
}
