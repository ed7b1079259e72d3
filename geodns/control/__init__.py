"""Control: what an instance shows of itself over HTTP, and the little that others may tell it.

    connection --limits--> request --guard (token, Host)--> app --asks--> Source (the server's keeper)
                                                             |
                                                  Document (JSON made in advance) --> response
                                         api --Task--> a clerk's process (worker, work) --> folder: zones/

The guard decides and the documents are made without sockets; only `app` and `replies` know HTTP. Nothing here
is needed for an answer to a query, and whatever happens here delays none.
"""
