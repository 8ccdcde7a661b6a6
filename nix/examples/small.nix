# A small host: one service, its secrets by agenix at the usual place.
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
