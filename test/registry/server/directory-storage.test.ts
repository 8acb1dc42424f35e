import { join } from 'node:path';
import { directoryStorage } from '../../../src/registry/server/directory-storage';
import { temporaryDirectory } from '../../fixtures';
import { storageSuite } from './storage-suite';

storageSuite('directory storage', () => directoryStorage(join(temporaryDirectory(), 'storage')));
