# The command `atelier-backup`, built from source.
{
  lib,
  stdenvNoCC,
  attr,
  bash,
  btrfs-progs,
  cacert,
  coreutils,
  esbuild,
  findutils,
  installShellFiles,
  makeWrapper,
  nix-update-script,
  nodejs,
  openssh,
  rclone,
  restic,
  sqlite,
  systemd,
  testers,
  util-linux,
  versionCheckHook,
  # For repositories behind rclone: and sftp:. nixpkgs' restic may bring both by itself.
  withOpenssh ? true,
  withRclone ? true,
}:
let
  packageJson = lib.importJSON ../package.json;

  # The npm packages that go into the bundle, by their places below us. package-lock.json says what each of them must be, not where it is
  # found (which importNpmLock wants to know): npm knows that, and whichever npm it is brings the same file. Nix checks it.
  npmDeps = lib.mapAttrs tarball (
    lib.filterAttrs (
      place: module: place != "" && !(module.dev or module.devOptional or false)
    ) (lib.importJSON ../package-lock.json).packages
  );
  tarball =
    place:
    { version, integrity, ... }:
    let
      name = lib.last (lib.splitString "node_modules/" place);
    in
    stdenvNoCC.mkDerivation {
      name = "${lib.replaceStrings [ "@" "/" ] [ "" "-" ] name}-${version}.tgz";
      strictDeps = true;
      __structuredAttrs = true;
      nativeBuildInputs = [
        cacert
        nodejs
      ];
      impureEnvVars = lib.fetchers.proxyImpureEnvVars;
      buildCommand = ''
        export HOME=$TMPDIR NODE_EXTRA_CA_CERTS=''${NODE_EXTRA_CA_CERTS-$NIX_SSL_CERT_FILE}
        npm pack --loglevel=error ${name}@${version}
        mv *.tgz "$out"
      '';
      outputHash = integrity;
    };

  # Every program that the command starts, so that the caller's PATH doesn't matter. PostgreSQL's clients are missing on purpose: they
  # must fit the host's server, and the module puts that server's own on the PATH of its units.
  runtimePath = lib.makeBinPath (
    [
      attr
      bash
      btrfs-progs
      coreutils
      findutils
      restic
      sqlite
      systemd
      util-linux
    ]
    ++ lib.optional withOpenssh openssh
    ++ lib.optional withRclone rclone
  );
in
stdenvNoCC.mkDerivation (finalAttrs: {
  pname = "atelier-backup";
  inherit (packageJson) version;
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../package.json
      ../tsconfig.json
      ../scripts/build.mjs
      ../scripts/docs
      ../src
    ];
  };
  strictDeps = true;
  __structuredAttrs = true;
  nativeBuildInputs = [
    esbuild
    installShellFiles
    makeWrapper
    nodejs
  ];

  configurePhase = ''
    runHook preConfigure
  ''
  + lib.concatStrings (
    lib.mapAttrsToList (place: file: ''
      mkdir -p ${place}
      tar -xf ${file} -C ${place} --strip-components=1
    '') npmDeps
  )
  + ''
    install -D ${./esbuild.cjs} node_modules/esbuild/index.js
    runHook postConfigure
  '';

  buildPhase = ''
    runHook preBuild
    node scripts/build.mjs
    runHook postBuild
  '';

  installPhase = ''
    runHook preInstall
    # What V8 compiled differs from build to build, and saves less than a tenth of a second.
    rm dist/cli-*.cache
    mkdir -p $out/lib
    mv dist $out/lib/atelier-backup
    makeWrapper ${lib.getExe nodejs} $out/bin/atelier-backup \
      --add-flags $out/lib/atelier-backup/atelier-backup.cjs \
      --prefix PATH : ${runtimePath}
    installManPage scripts/docs/atelier-backup.1
    installShellCompletion --cmd atelier-backup \
      --bash scripts/docs/completions/atelier-backup.bash \
      --zsh scripts/docs/completions/_atelier-backup \
      --fish scripts/docs/completions/atelier-backup.fish
    runHook postInstall
  '';

  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];

  passthru = {
    inherit npmDeps;
    tests.vm = testers.runNixOSTest (import ./vm-test.nix { package = finalAttrs.finalPackage; });
    updateScript = nix-update-script { };
  };

  meta = {
    inherit (packageJson) description homepage;
    mainProgram = "atelier-backup";
    license = lib.licenses.mit;
    maintainers = [ ];
    platforms = lib.platforms.linux;
  };
})
