// The package, and what a rebuild makes of a configuration.
import type { Breakage } from './index.ts'

export const nix: Breakage[] = [
  {
    id: 'nix.1',
    breaks: 'what V8 compiled goes into the package',
    in: 'nix/package.nix',
    find: 'rm dist/cli-*.cache',
    put: '',
    red: { file: 'test/nix/nixos/package.test.ts', title: '[nix.1] the package is built' },
  },
  {
    id: 'nix.1-repacked',
    breaks: 'what npm brings is packed anew, as this machine packs',
    in: 'nix/package.nix',
    find: 'mv *.tgz "$out"',
    put: 'gzip -dc *.tgz | gzip -1 > "$out"',
    red: { file: 'test/nix/package.test.ts', title: '[nix.1] npm brings' },
  },
]
