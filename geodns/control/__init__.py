"""Control: what an instance shows of itself over HTTP, and what others may tell it or change.

    connection --limits--> request --guard (token, Host)--> app --asks--> Source (the server's keeper)
                                                             |
                                                  Document (JSON made in advance) --> response
                                         api --Task--> a clerk's process (worker, work) --> folder: zones/

`app` has the connections and the guard; the modules with paths of their own (`api`, `acme`, `metrics`,
`traffic`, `page`) give it routes, and answer through `replies`. The guard decides and the documents are made
without sockets. Nothing here is needed for an answer to a query, and whatever happens here delays none.
"""
