# One nameserver on each of two machines: see README.md.

variable "image" {
  type    = string
  default = "geodns:latest"
}

job "geodns" {
  datacenters = ["*"]
  type        = "service"

  # One after the other: the next one is replaced when this one has been healthy for half a minute.
  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "30s"
    healthy_deadline  = "3m"
    progress_deadline = "10m"
    auto_revert       = true
  }

  group "ns" {
    count = 2

    # Never two on one machine.
    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    # The machines whose addresses the registrar has: `client { meta { geodns = "nameserver" } }` in their config.
    constraint {
      attribute = "${meta.geodns}"
      value     = "nameserver"
    }

    # Apart from each other where there is a choice.
    spread {
      attribute = "${node.datacenter}"
    }

    # A nameserver that is drained or moved goes one at a time, too.
    migrate {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "30s"
    }

    # Its machine's address is in the parent zone: it does not go elsewhere when the machine is not heard of.
    disconnect {
      lost_after = "24h"
      replace    = false
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "2s"
      mode     = "delay"
    }

    network {
      mode = "host"
      port "dns" {
        static = 53
      }
    }

    task "geodns" {
      driver = "docker"

      # SIGTERM, and some time for TCP connections to drain.
      kill_timeout = "15s"

      config {
        image = var.image
        args  = ["serve", "--id", "${node.unique.name}"]

        # The machine's own network: nothing on the way changes the client's address, for IPv4 as for IPv6.
        network_mode = "host"

        # Port 53 takes the image's file capability here, so there is no no-new-privileges, which would take it away.
        cap_drop        = ["all"]
        cap_add         = ["net_bind_service"]
        readonly_rootfs = true

        # Folders of the machine, the same on each; a zone that is saved is served at once.
        volumes = [
          "/srv/geodns/zones:/etc/geodns/zones:ro",
          "/srv/geodns/geo-db:/etc/geodns/geo-db:ro",
          "/srv/geodns/state:/var/lib/geodns",
        ]

        logging {
          type = "json-file"
          config {
            max-size = "10m"
            max-file = "3"
          }
        }
      }

      resources {
        cpu        = 500
        memory     = 256
        memory_max = 1024
      }

      service {
        name     = "geodns"
        provider = "nomad"
        port     = "dns"

        # Whether it answers over UDP, too, is what the image's own health check says (docker ps).
        check {
          type     = "tcp"
          interval = "10s"
          timeout  = "2s"
        }
      }
    }
  }
}
