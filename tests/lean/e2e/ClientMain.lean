import ClientCases

/-- TARGET [load] -/
def main (args : List String) : IO UInt32 :=
  Check.main (ClientCases.all (args.headD "") (args.contains "load"))
