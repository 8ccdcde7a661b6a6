# A small host with one service. agenix provides the secrets at their default paths.
{
  networking.hostName = "hearth";

  atelier.backup = {
    enable = true;
    services.notes = {
      paths = [ "/var/lib/notes" ];
      sqlite = [ "/var/lib/notes/notes.db" ];
    };
  };
}
