import { memoryStorage } from '../../../src/registry/server/memory-storage';
import { storageSuite } from './storage-suite';

storageSuite('memory storage', async () => memoryStorage());
