import { logger } from '@nx/devkit';
import { failureReport } from '../terminal/failure';

/** Runs an executor's action: what it returns is printed, a failure is printed and makes the target fail. */
export async function reported(action: () => Promise<string>): Promise<{ success: boolean }> {
  try {
    logger.info(await action());
    return { success: true };
  } catch (error) {
    logger.error(failureReport(error));
    return { success: false };
  }
}
