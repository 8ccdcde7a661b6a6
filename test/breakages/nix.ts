// The package, and what a rebuild makes of a configuration.
import type { Breakage } from './index.ts'

export const nix: Breakage[] = [
  {
    id: 'nix.1',
    breaks: 'what V8 compiled goes into the package',
    in: 'nix/package.nix',
    find: 'rm dist/cli-*.cache',
    put: '',
    red: { file: 'test/nix/nixos/package.test.ts', title: '[nix.1] the package is the same' },
  },
  {
    id: 'nix.1-repacked',
    breaks: 'what npm brings is packed anew, as this machine packs',
    in: 'nix/package.nix',
    find: 'mv *.tgz "$out"',
    put: 'gzip -dc *.tgz | gzip -1 > "$out"',
    red: { file: 'test/nix/package.test.ts', title: '[nix.1] npm brings' },
  },
  {
    id: 'nix.2',
    breaks: 'a wrong time is told, and taken',
    in: 'nix/check.nix',
    find: 'wrong=1',
    put: ':',
    red: { file: 'test/nix/nixos/check.test.ts', title: '[nix.2] a wrong time' },
  },
  {
    id: 'nix.2-zone',
    breaks: 'a folder of time zones passes for one',
    in: 'nix/check.nix',
    find: '[ ! -f ',
    put: '[ ! -e ',
    red: { file: 'test/nix/nixos/check.test.ts', title: '[nix.2] a wrong time' },
  },
  {
    id: 'nix.2-module',
    breaks: 'the check is no part of a rebuild',
    in: 'nix/module.nix',
    find: 'system.checks = lib.optional (',
    put: 'system.checks = lib.optional (false && ',
    red: { file: 'test/nix/nixos/examples.test.ts', title: ['[nix.2] nix/examples/', '.nix'] },
  },
  {
    id: 'nix.3',
    breaks: 'options of other modules are written into the manifest',
    in: 'nix/schema-to-options.nix',
    find: 'if others == false then',
    put: 'if false then',
    red: { file: 'test/nix/schema.test.ts', title: '[nix.3]' },
  },
  {
    id: 'nix.4',
    breaks: 'a service that nixpkgs removes ends the evaluation of every host',
    in: 'nix/warnings.nix',
    find: 'if read.success then',
    put: 'if read.success || value != null then',
    red: { file: 'test/nix/warnings.test.ts', title: '[nix.4]' },
  },
]
